"""Execute GraphQL documents; parsed and validated documents are cached."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    execute,
    get_operation_ast,
    parse,
    validate,
    visit,
)
from graphql.execution import ExecutionResult
from graphql.execution.values import get_variable_values

from tests.simulators.stash.plans import NotCoveredError, Plan
from tests.simulators.stash.plugins import Caller
from tests.simulators.stash.resolvers import ResolversByType, resolve_field


@dataclass(frozen=True)
class Outcome:
    body: dict[str, Any]
    valid: bool
    """False when the document or its variables were refused and not executed."""


@dataclass(frozen=True)
class _Compiled:
    document: DocumentNode | None
    errors: list[dict[str, Any]]
    inside_objects: frozenset[str] = frozenset()
    """Variables inside literal input objects."""
    plans: dict[str, Plan | None] = field(default_factory=dict)

    def plan(self, operation: OperationDefinitionNode, schema: GraphQLSchema) -> Plan | None:
        """Return the fast plan of an operation; None if there is none."""
        name = operation.name.value if operation.name else ""
        if name not in self.plans and self.document is not None:
            try:
                self.plans[name] = Plan(self.document, operation, schema)
            except NotCoveredError:
                self.plans[name] = None
        return self.plans[name]


class Executor:
    def __init__(self, schema: GraphQLSchema, resolvers: ResolversByType) -> None:
        self.plans = True
        """Whether plain queries take the fast way; the result is the same."""
        self._schema = schema
        self._resolvers = resolvers

    def run(
        self,
        text: str,
        variables: Mapping[str, Any] | None,
        operation_name: str | None,
        caller: Caller,
    ) -> Outcome:
        caller.resolvers = self._resolvers
        found = compiled(self._schema, text)
        if found.document is None:
            return _refused(found.errors)
        operation = get_operation_ast(found.document, operation_name or None)
        if operation is None:
            return _refused([{"message": f"operation {operation_name or ''} not found"}])
        values = {**_nulls(operation, found.inside_objects), **(variables or {})}
        problems = get_variable_values(self._schema, operation.variable_definitions or (), values)
        if isinstance(problems, list):
            return _refused([_formatted(error, "GRAPHQL_VALIDATION_FAILED") for error in problems])
        plan = found.plan(operation, self._schema) if self.plans else None
        if plan is not None:
            # Queries change nothing, so graphql-core can run one again to report its errors.
            with suppress(Exception):
                return Outcome({"data": plan.run(problems, caller)}, True)
        result = execute(
            self._schema,
            found.document,
            context_value=caller,
            variable_values=values,
            operation_name=operation_name or None,
            field_resolver=resolve_field,
            is_awaitable=_never,
        )
        assert isinstance(result, ExecutionResult)
        body: dict[str, Any] = {"data": result.data}
        if result.errors:
            body = {"errors": [_formatted(error) for error in result.errors], **body}
        return Outcome(body, True)


@functools.lru_cache(1000)
def compiled(schema: GraphQLSchema, text: str) -> _Compiled:
    """Parse and validate a document, once for all simulators of the process."""
    try:
        document = parse(text)
    except GraphQLError as error:
        return _Compiled(None, [_formatted(error, "GRAPHQL_PARSE_FAILED")])
    errors = validate(schema, document)
    if errors:
        return _Compiled(None, [_formatted(error, "GRAPHQL_VALIDATION_FAILED") for error in errors])
    finder = _VariablesInObjects()
    visit(document, finder)
    return _Compiled(document, [], frozenset(finder.names))


class _VariablesInObjects(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self._depth = 0

    def enter_object_value(self, *_: Any) -> None:
        self._depth += 1

    def leave_object_value(self, *_: Any) -> None:
        self._depth -= 1

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        if self._depth:
            self.names.add(node.name.value)


def _nulls(operation: OperationDefinitionNode, names: frozenset[str]) -> dict[str, None]:
    """Return nulls for unset variables in literal input objects: in Stash they clear the field."""
    return {
        definition.variable.name.value: None
        for definition in operation.variable_definitions or ()
        if definition.variable.name.value in names
        and definition.default_value is None
        and definition.type.kind != "non_null_type"
    }


def _refused(errors: list[dict[str, Any]]) -> Outcome:
    return Outcome({"errors": errors, "data": None}, False)


def _formatted(error: GraphQLError, code: str | None = None) -> dict[str, Any]:
    formatted: dict[str, Any] = {"message": error.message}
    if error.path:
        formatted["path"] = error.path
    if code is not None:
        formatted["locations"] = [
            {"line": location.line, "column": location.column} for location in error.locations or ()
        ]
        formatted["extensions"] = {"code": code}
    return formatted


def _never(_: Any) -> TypeGuard[Awaitable[Any]]:
    return False
