"""What executes runs, by its parts."""
