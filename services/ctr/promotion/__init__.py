"""What decides whether a version becomes the champion, and the record of it."""
