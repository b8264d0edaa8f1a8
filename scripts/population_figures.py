"""From a table of `measure` to figures: uv run scripts/population_figures.py TABLE FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import chunkflow_liver as cf
from chunkflow_liver.reports.pictures import populations as draw

table, folder = sys.argv[1], Path(sys.argv[2])
plan = cf.population(table, cell="parent", name="forms", work=folder)
cf.run(plan)


def columns(end: str) -> dict:
    read = cf.read_table(folder / f"tables/forms{end}.parquet")
    return {name: read.column(name).to_numpy(zero_copy_only=False) for name in read.column_names}


objects, components, cells = columns(""), columns("-components"), columns("-cells")
kept = {name: values[objects["left_out"] == ""] for name, values in objects.items()}
features = columns("-features")["column"].tolist()
figures = {
    "scree": draw.scree(components, name="scree"),
    "distributions": draw.distributions(kept, components, (0.4, 0.6), name="distributions"),
    "plane": draw.plane(kept, name="plane"),
    "features": draw.on_plane(kept, features, name="features"),
    "heat-map": draw.heat_map(kept, features, name="heat-map"),
    "violins": draw.violins(kept, cells, name="violins"),
    "ridges": draw.ridges(kept, cells, name="ridges"),
}
for name, svg in figures.items():
    (folder / f"{name}.svg").write_text(svg.replace(draw.INK, "#1c2329"))
print(cf.report(plan))
