"""What `make test-compose` is made of: stand-in base images, Podman, and what is looked at."""
