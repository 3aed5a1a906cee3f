"""Writing: what is to be saved, assigned and directed, where it differs from what was written last."""

import msgspec

from cutwater.engine.control import Assign, CoordinatorCommand, Direct, Erase, Save
from cutwater.engine.coordinator.books import Books
from cutwater.engine.coordinator.deployment import Deployment
from cutwater.engine.coordinator.members import Standing
from cutwater.engine.coordinator.rollout import Epoch
from cutwater.engine.coordinator.routes import epoch_table
from cutwater.engine.facts.deployments import EpochPhase
from cutwater.engine.facts.gateways import EpochTable, RouteTable
from cutwater.engine.facts.nodes import Assignment
from cutwater.units import Seconds


class Writing:
    """Turns marks in the books into commands."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._options = books.options

    def saves(self) -> list[CoordinatorCommand]:
        """What the next coordinator must know, and what nobody needs to know any more."""
        commands: list[CoordinatorCommand] = []
        for model in self._books.touched:
            deployment = self._books.deployments.get(model)
            if deployment is None:
                continue
            if deployment.removed and not deployment.epochs and not deployment.ending:
                self._books.next_epochs[model] = deployment.next_epoch
                commands.append(Erase(model))
                continue
            mark = deployment.mark()
            if mark != deployment.saved:
                deployment.saved = mark
                commands.append(Save(deployment.record()))
        self._books.touched.clear()
        return commands

    def assigns(self, now: Seconds) -> list[CoordinatorCommand]:
        """What nodes shall run."""
        commands: list[CoordinatorCommand] = []
        for node in self._books.stale_nodes:
            member = self._books.nodes.get(node)
            if member is None or member.standing is Standing.UNKNOWN:
                continue  # what it runs is not known yet; it may be more than this coordinator would want
            revoked = node in self._books.revoked
            wanted, coming = ((), ()) if revoked else (member.wanted(), member.coming())
            news = member.told is None or [w.worker for w in wanted] != [w.worker for w in member.told]
            if news or not member.awaits.issuperset(coming):
                member.awaits = frozenset(coming)
                member.told, member.sent_at = wanted, now
                told = Assignment(node=node, term=self._books.term, workers=wanted, coming=coming)
                commands.append(Assign(told))
        self._books.stale_nodes.clear()
        return commands

    def directs(self, now: Seconds) -> list[CoordinatorCommand]:
        """Which ways gateways may use."""
        commands: list[CoordinatorCommand] = []
        stale, self._books.stale_tables = self._books.stale_tables, {}
        for model in stale:
            deployment = self._books.deployments.get(model)
            if deployment is None:
                continue
            if not self._known(deployment):
                self._books.stale_tables[model] = None
                continue
            made: dict[str, RouteTable] = {}
            for gateway, entrance in sorted(self._books.gateways.items()):
                host, last = entrance.beat.host, entrance.tables.get(model)
                table = made.get(host) or made.setdefault(host, self._table(deployment, host))
                if last is None or msgspec.structs.replace(last, mark="") != table:
                    self._books.marks += 1
                    table = msgspec.structs.replace(table, mark=f"{self._books.term}.{self._books.marks}")
                    entrance.tables[model], entrance.sent_at[model] = table, now
                    commands.append(Direct(gateway, table))
        for model in stale:
            deployment = self._books.deployments.get(model)
            if deployment is not None and deployment.removed and not deployment.epochs and not deployment.ending:
                del self._books.deployments[model]
                for entrance in self._books.gateways.values():
                    entrance.tables.pop(model, None)
        return commands

    def _known(self, deployment: Deployment) -> bool:
        """Whether all nodes of the ways have been heard of: else a table would leave out ways that work."""
        epochs = [epoch for epoch in (deployment.live, deployment.rolling) if epoch is not None]
        nodes = (self._books.nodes.get(node) for epoch in epochs for node in epoch.nodes)
        return not any(member is not None and member.standing is Standing.UNKNOWN for member in nodes)

    def _table(self, deployment: Deployment, host: str) -> RouteTable:
        def ways(epoch: Epoch | None) -> EpochTable | None:
            return None if epoch is None else epoch_table(epoch, host, self._books.host_of, self._options.most_routes)

        spec, live, rolling = deployment.spec, deployment.live, deployment.rolling
        probed = rolling if rolling is not None and rolling.phase is EpochPhase.PROBING else None
        return RouteTable(
            model=spec.model,
            term=self._books.term,
            live=ways(live),
            candidate=ways(probed),
            whole=live.blueprint.whole if live is not None and spec.fallback else None,
            window=spec.window,
            timeout=spec.timeout,
            removed=deployment.removed,
        )
