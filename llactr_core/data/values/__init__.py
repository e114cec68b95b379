"""Values as bytes: cells of rows, where the bytes of each value lie, and the flat hash in which they are looked up."""
