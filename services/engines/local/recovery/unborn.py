"""What is in the folder of a blob that was never acknowledged, and has no state file."""

from __future__ import annotations

from common.errors import CorruptRecord
from common.states import State
from services.engines.local.disk import blob_folder, layout, record
from services.engines.local.disk.layout import Layout

# All that may stand in a folder in which nothing was ever acknowledged.
NEVER_COMPLETE = {
    *(layout.DATA_NAME, layout.DATA_TEMP_NAME, layout.STATE_TEMP_NAME),
    *(layout.NOTE_NAME, layout.NOTE_NAME + ".tmp"),
}


def has_unborn_state(data_dir: Layout, blob_id: int) -> bool:
    """True if the temporary state file is that of a new blob with this id, or a torn one."""
    try:
        content = blob_folder.read_file(f"{data_dir.folder(blob_id)}/{layout.STATE_TEMP_NAME}")
        found = record.load(content)
        return found.id == blob_id and found.state is not State.FAILURE
    except FileNotFoundError:
        return False
    except CorruptRecord:
        return True
