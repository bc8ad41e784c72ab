"""A model of a disk, as POSIX allows it: what is durable, and what is still on its way.

Replays a recorder's log. Of every file it knows the bytes that a sync made durable and the writes since; of
every folder its durable entries and the operations since. `Disk.image` then gives what a power cut would
leave if exactly these operations and these parts of these writes had reached the medium:
- a sync of a file makes durable what was written to it before the sync began, but not its name, which belongs
  to the folder;
- a sync of a folder makes durable the operations on its entries from before it began; a rename between two
  folders is one operation, durable once either is synced;
- a sync of the file system does both, for all;
- a failed sync loses the writes that it should have made durable: no later sync saves them;
- any operation that no sync covers may be lost or kept, independent of the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.cuts.recorder import Op

Image = dict[str, bytes | None]  # path below the root: a file's bytes, None for a folder


@dataclass(eq=False)
class Write:
    """A write on its way to a file: `data` at `at`; for "truncate" and "grow" `at` is a length."""

    no: int
    kind: str
    at: int
    data: bytes = b""

    def do(self, content: bytearray) -> None:
        """Apply it to `content`."""
        if self.kind == "truncate":
            del content[self.at :]
        if self.kind != "write":
            content.extend(bytes(max(0, self.at - len(content))))
            return
        content.extend(bytes(max(0, self.at - len(content))))
        content[self.at : self.at + len(self.data)] = self.data


@dataclass(eq=False)
class Node:
    """A file or a folder, independent of its name. `inode`: of the real one, while that lives; 0 if
    unknown.
    """

    inode: int


@dataclass(eq=False)
class File(Node):
    """`durable`: its bytes that are certainly on the medium; `pending`: writes since then; `now`: the
    bytes with all of these.
    """

    durable: bytes = b""
    pending: list[Write] = field(default_factory=list)
    now: bytearray = field(default_factory=bytearray)


@dataclass(eq=False)
class Entries:
    """An operation on folders: what it makes of each (folder, name)."""

    no: int
    sets: list[tuple[Folder, str, Node | None]]


@dataclass(eq=False)
class Folder(Node):
    """Like File, with entries. A durable entry has the number of its operation; None: durably removed."""

    durable: dict[str, tuple[int, Node | None]] = field(default_factory=dict)
    pending: list[Entries] = field(default_factory=list)
    now: dict[str, Node] = field(default_factory=dict)


class Disk:
    """`apply` operations one by one; between any two, `image` what a cut could leave."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.top = Folder(0)
        self.no = 0  # the number of the last operation
        self.synced_no = 0  # up to this operation a file system with an ordered journal has all metadata
        self._files: dict[tuple[int, int], Node] = {}  # by (pid, descriptor)
        self._syncing: dict[tuple[int, int], tuple[int, Node | None]] = {}  # by (pid, the sync's number)

    def apply(self, op: Op) -> None:
        """Do one operation of the log. AssertionError if it does not fit what was logged before."""
        self.no += 1
        if op.kind in ("write", "truncate", "grow"):
            file = self._opened(op)
            assert isinstance(file, File)
            write = Write(self.no, op.kind, op.at, op.data)
            if op.kind != "grow" or op.at > len(file.now):
                write.do(file.now)
                file.pending.append(write)
        elif op.kind == "open":
            self._open(op)
        elif op.kind == "begin":
            node = self._opened(op) if op.path == "node" else None
            self._syncing[op.pid, op.no] = (self.no, node)
        elif op.kind == "end":
            began_no, node = self._syncing.pop((op.pid, op.no))
            self._synced(began_no, node)
        elif op.kind == "failed":
            began_no, node = self._syncing.pop((op.pid, op.no))
            self._dropped(began_no, node, op.to)
        elif op.kind != "mark":
            self._change_entries(op)

    def start_with(self, image: Image) -> None:
        """Begin with `image`, all of it durable."""
        folders = {"": self.top}
        for path, content in image.items():
            above, _, name = path.rpartition("/")
            node: Node
            if content is None:
                node = folders[path] = Folder(0)
            else:
                node = File(0, durable=content, now=bytearray(content))
            folders[above].durable[name] = (0, node)
            folders[above].now[name] = node

    # --- replaying ---

    def _opened(self, op: Op) -> Node:
        node = self._files[op.pid, op.fd]
        assert node.inode in (op.inode, 0), f"descriptor {op.fd} is not what was opened last"
        return node

    def _find(self, path: str) -> Node | None:
        inside = os.path.relpath(path, self.root)
        if inside.startswith(".."):
            return None  # above the root, so not on this disk
        node: Node = self.top
        for name in inside.split("/"):
            if name != ".":
                assert isinstance(node, Folder), path
                node = node.now[name]
        return node

    def _parent(self, path: str) -> tuple[Folder, str]:
        folder = self._find(os.path.dirname(path))
        assert isinstance(folder, Folder), path
        return folder, os.path.basename(path)

    def _open(self, op: Op) -> None:
        if op.path == self.root or op.path.startswith(self.root + "/"):
            if op.flags & os.O_CREAT:
                folder, name = self._parent(op.path)
                if name not in folder.now:
                    self._set((folder, name, File(op.inode)))
            node = self._find(op.path)
            assert node is not None
            if op.flags & os.O_TRUNC and isinstance(node, File) and node.now:
                node.pending.append(Write(self.no, "truncate", 0))
                node.now.clear()
        else:
            node = Folder(op.inode)  # a folder above the root, opened to be synced
        assert node.inode in (op.inode, 0), op.path
        node.inode = op.inode
        self._files[op.pid, op.fd] = node

    def _set(self, *sets: tuple[Folder, str, Node | None]) -> None:
        change = Entries(self.no, list(sets))
        for folder, name, node in sets:
            if node is None:
                del folder.now[name]
            else:
                folder.now[name] = node
            if change not in folder.pending:
                folder.pending.append(change)

    def _change_entries(self, op: Op) -> None:
        folder, name = self._parent(op.path)
        if op.kind == "mkdir":
            assert name not in folder.now, op.path
            self._set((folder, name, Folder(0)))
        elif op.kind == "rename":
            node = folder.now[name]
            self._set((folder, name, None), (*self._parent(op.to), node))
        elif op.kind == "link":
            self._set((*self._parent(op.to), folder.now[name]))
        elif op.kind == "exchange":
            other, other_name = self._parent(op.to)
            self._set((folder, name, other.now[other_name]), (other, other_name, folder.now[name]))
        elif name in folder.now:  # otherwise a socket, which is not in the log
            gone = folder.now[name]
            assert op.kind == ("rmdir" if isinstance(gone, Folder) else "unlink")
            assert not (isinstance(gone, Folder) and gone.now), op.path
            self._set((folder, name, None))

    def _synced(self, began_no: int, node: Node | None) -> None:
        self.synced_no = max(self.synced_no, began_no)
        for one in [node] if node is not None else self._all_nodes():
            if isinstance(one, File):
                content = bytearray(one.durable)
                for write in one.pending:
                    if write.no <= began_no:
                        write.do(content)
                one.durable = bytes(content)
                one.pending = [write for write in one.pending if write.no > began_no]
            elif isinstance(one, Folder):
                for change in [c for c in one.pending if c.no <= began_no]:
                    for folder, name, target in change.sets:
                        if folder.durable.get(name, (0, None))[0] < change.no:
                            folder.durable[name] = (change.no, target)
                        if change in folder.pending:
                            folder.pending.remove(change)

    def _dropped(self, began_no: int, node: Node | None, spared: str) -> None:
        """A sync failed: the bytes stay readable, but the kernel treats them as written, and forgets them."""
        safe = [
            one
            for folder in self._all_nodes()
            if isinstance(folder, Folder)
            for name, one in folder.now.items()
            if spared and name.startswith(spared)
        ]
        for one in [node] if node is not None else self._all_nodes():
            if isinstance(one, File) and one not in safe:
                one.pending = [write for write in one.pending if write.no > began_no]

    def _all_nodes(self) -> list[Node]:
        """Every node that any image can contain, the top first."""
        found: dict[int, Node] = {id(self.top): self.top}
        to_visit: list[Node] = [self.top]
        while to_visit:
            node = to_visit.pop()
            if isinstance(node, Folder):
                targets = [target for _, target in node.durable.values()]
                targets += [t for c in node.pending for folder, _, t in c.sets if folder is node]
                for target in targets:
                    if target is not None and id(target) not in found:
                        found[id(target)] = target
                        to_visit.append(target)
        return list(found.values())

    # --- what a cut may leave ---

    def on_their_way(self) -> tuple[list[Entries], list[File]]:
        """The (operations, files with writes) that a cut may lose now, in order."""
        nodes = self._all_nodes()
        changes = {c.no: c for node in nodes if isinstance(node, Folder) for c in node.pending}
        files = [node for node in nodes if isinstance(node, File) and node.pending]
        return [changes[no] for no in sorted(changes)], files

    def image(self, keeps: Callable[[Entries], bool], content: Callable[[File], bytes]) -> Image:
        """The disk after a cut that kept the operations for which `keeps` is true. `content` gives the bytes
        of a file with writes on their way.
        """
        image: Image = {}
        decided: dict[int, bytes] = {}

        def visit(folder: Folder, path: str, above: tuple[Folder, ...]) -> None:
            entries = dict(folder.durable)
            for change in folder.pending:
                if keeps(change):
                    for data_dir, name, node in change.sets:
                        if data_dir is folder and entries.get(name, (0, None))[0] < change.no:
                            entries[name] = (change.no, node)
            for name, (_, node) in sorted(entries.items()):
                inside = f"{path}{name}"
                if isinstance(node, Folder) and node not in above:
                    image[inside] = None
                    visit(node, f"{inside}/", (*above, node))
                elif isinstance(node, File):
                    if id(node) not in decided:
                        decided[id(node)] = content(node) if node.pending else node.durable
                    image[inside] = decided[id(node)]

        visit(self.top, "", (self.top,))
        return image

    def whole(self) -> Image:
        """The disk with everything so far, as the kernel shows it."""
        return self.image(lambda change: True, lambda file: bytes(file.now))
