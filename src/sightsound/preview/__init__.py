"""What a model is given, as pictures: before training and for explanations."""
