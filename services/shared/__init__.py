"""What both services need: settings, storage, jobs, accelerators, keys, problems, logs, the frame of an app."""
