"""Arrays in, arrays out: encoding, selection, depths, splits, transforms."""
