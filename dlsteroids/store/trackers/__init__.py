"""Programs that show runs while they train; one file each, chosen by its name."""
