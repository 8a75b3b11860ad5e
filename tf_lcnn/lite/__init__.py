"""On the way to the phone: from a trained Keras model to a checked LiteRT file."""
