"""One bad row, byte, file or scene never stops the rest: tests on real processes."""
