"""What will hurt: every clip of a data set examined, compared with the others, and reported."""
