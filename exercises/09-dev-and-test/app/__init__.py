"""What people say which digit a picture shows."""
