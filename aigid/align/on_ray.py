"""The making of fakes on a Ray cluster: paths travel to a pool of actors, fakes go straight to the shared shelf."""

import json

import pandas as pd

from aigid import cluster
from aigid.align import domains, engine
from aigid.align.domains import AlignSettings
from aigid.align.fakes import Fakes
from aigid.align.shelf import Shelf
from aigid.base.errors import InputError
from aigid.base.files import device_name
from aigid.base.remote import Place
from aigid.base.shelves import METADATA_FILE
from aigid.device import choose_device

ROWS = 256  # photographs that an actor gets at once


class Making:
    """An actor: loads the maker when the first photographs come, and fills the shelf with their fakes."""

    def __init__(self, settings: AlignSettings, root: Place, about: dict, shelf: Shelf, aigid: str, _: int) -> None:
        self.settings, self.root, self.about, self.shelf, self.aigid = settings, root, about, shelf, aigid
        self._fakes: Fakes | None = None

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows ``path`` to one row ``num, made, unread``, the last being JSON."""
        fakes = self._loaded()
        before = fakes.num_made
        unread = engine.run(fakes, self.settings, self.root, rows["path"].tolist())
        return pd.DataFrame({"num": [len(rows)], "made": [fakes.num_made - before], "unread": [json.dumps(unread)]})

    def _loaded(self) -> Fakes:
        """The fakes, once it is sure that they will be those of everybody else, and will arrive."""
        if self._fakes is None:
            cluster.require_alike(self.aigid, self.shelf.folder / METADATA_FILE)
            fakes = Fakes(domains.load(self.settings), self.settings, choose_device(device_name()))
            if fakes.about != self.about:
                raise InputError(f"{cluster.worker()}: its maker of {self.settings.domain} is not that of this machine")
            fakes.shelf, self._fakes = self.shelf, fakes
        return self._fakes


def run(fakes: Fakes, settings: AlignSettings, root: Place, paths: list[str]) -> dict[str, str]:
    """As `aigid.align.engine.run`, by actors.

    InputError for an address without a cluster, workers of another version or other weights, a cache that they do not
    see.
    """
    arguments = (settings, root.absolute(), fakes.about, Shelf(fakes.shelf.folder.absolute()))
    unread = {}
    for done in cluster.spread(Making, arguments, pd.DataFrame({"path": paths}), ROWS):
        fakes.num_made += done["made"]
        unread |= json.loads(done["unread"])
    return {path: unread[path] for path in paths if path in unread}
