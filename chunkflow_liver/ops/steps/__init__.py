"""What several operations are made of.

Joining over blocks (`blockwise`, `seams`, `borders`), numbering on disk
(`numbering`), rows of records (`rows`), boxes around whole objects (`crops`), what already lies in blocks
(`stored_blocks`), which level of an image is meant (`levels`), and where outputs go (`place`). Operations
import these and never each other.
"""
