"""Files that torch.save wrote: zip archives, whose own checksums torch does not look at."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from pathlib import Path

from chunkflow_liver.errors import SegmenterError

READ_AT_ONCE = 1 << 22


def check_archive(path: Path) -> None:
    """Refuse an archive that is not as it was written, or of which two readers may see different files.

    Raises
    ------
    SegmenterError
        If a file in it does not have the checksum that the archive says, or two have one name.

    Notes
    -----
    Reads everything once. torch maps the file into memory and takes what is there: a flipped bit is a
    flipped weight.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # torch finds files whatever the case of their names.
            names = Counter(info.filename.lower() for info in archive.infolist())
            if names and (most := names.most_common(1)[0])[1] > 1:
                raise SegmenterError(f"{path} holds {most[0]!r} twice, so that it can be read in two ways")
            for info in archive.infolist():
                with archive.open(info) as file:
                    while file.read(READ_AT_ONCE):
                        pass
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as err:
        raise SegmenterError(
            f"{path} is damaged: {err}; copy it again from where it was trained (if it was written with "
            "torch.serialization.set_crc32_options(False), save it anew without that)"
        ) from err
