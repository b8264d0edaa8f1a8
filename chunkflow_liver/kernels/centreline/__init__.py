"""Where does an object run, how wide is it there, and where is it narrow?

Centre lines with branches, cross-sections and widths along them, necks, and windows of surface at necks and
at controls. Takes the mask of one object, gives lines in nm, widths and rows of necks. Begin with
`line.centreline`, `widths.width_profile` and `necks.find_narrowings`.
"""
