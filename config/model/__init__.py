"""The settings as frozen structs, and the annotations they are checked by."""
