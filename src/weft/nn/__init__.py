"""Networks: modules that know no sound, no seconds and no files."""
