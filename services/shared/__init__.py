"""What both services need: settings, storage, jobs, keys, problem responses, logs, the frame of an app."""
