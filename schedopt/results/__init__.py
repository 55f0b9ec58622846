"""What comes out of studies: schedule files, scores of estimates."""
