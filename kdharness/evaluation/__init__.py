"""What a trained student is worth: metrics computed from a network and a split."""
