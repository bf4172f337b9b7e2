"""What a machine has and lacks for serving and calibrating: one row a check, each with its fix."""
