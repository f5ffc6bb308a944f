"""A fast way through plain queries: selections compiled to functions, same result as graphql-core.

A plan covers queries without directives and without arguments below the top level. Whatever it
does not cover, and every error, is left to graphql-core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLID,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLString,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
)
from graphql.execution.values import VariableValues, get_argument_values

Get = Callable[[Any, Any], Any]
"""Return a field's finished value, given the source object and the info of its resolvers."""
Complete = Callable[[Any, Any], Any]
Resolver = Callable[..., Any]


class NotCoveredError(Exception):
    """graphql-core has to run this query."""


class Plan:
    """A compiled query."""

    def __init__(
        self, document: DocumentNode, operation: OperationDefinitionNode, schema: GraphQLSchema
    ) -> None:
        """Compile; raise NotCoveredError for what a plan can't do."""
        if operation.operation != OperationType.QUERY or schema.query_type is None:
            raise NotCoveredError
        compiler = _Compiler(document)
        self._fields = [
            (key, field, node, field.resolve, compiler.complete(field.type, node))
            for key, field, node in compiler.fields(schema.query_type, operation.selection_set)
        ]

    def run(self, variables: VariableValues, context: Any) -> dict[str, Any]:
        """Return the query's data; raise any exception if graphql-core has to run it."""
        info: Any = SimpleNamespace(context=context)
        data: dict[str, Any] = {}
        for key, field, node, resolve, complete in self._fields:
            if resolve is None:
                raise NotCoveredError
            arguments = get_argument_values(field, node, variables)
            data[key] = complete(resolve(None, info, **arguments), info)
        return data


class _Compiler:
    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }

    def fields(
        self, type_: GraphQLObjectType, selections: SelectionSetNode
    ) -> list[tuple[str, GraphQLField, FieldNode]]:
        """Return the selected fields; the simulated schema has no interfaces and no unions."""
        found: dict[str, tuple[str, GraphQLField, FieldNode]] = {}
        for node in self._nodes(selections):
            key = (node.alias or node.name).value
            if node.directives or key in found or node.name.value not in type_.fields:
                raise NotCoveredError
            found[key] = (key, type_.fields[node.name.value], node)
        return list(found.values())

    def _nodes(self, selections: SelectionSetNode) -> Iterator[FieldNode]:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                yield node
            elif node.directives:
                raise NotCoveredError
            elif isinstance(node, FragmentSpreadNode):
                yield from self._nodes(self._fragments[node.name.value].selection_set)
            elif isinstance(node, InlineFragmentNode):
                yield from self._nodes(node.selection_set)

    def complete(self, type_: GraphQLOutputType, node: FieldNode) -> Complete:
        if isinstance(type_, GraphQLNonNull):
            return _not_null(self.complete(type_.of_type, node))
        if isinstance(type_, GraphQLList):
            return _each(self.complete(type_.of_type, node))
        if isinstance(type_, GraphQLObjectType) and node.selection_set is not None:
            return self._object(type_, node.selection_set)
        if isinstance(type_, GraphQLLeafType):
            return _leaf(type_)
        raise NotCoveredError

    def _object(self, type_: GraphQLObjectType, selections: SelectionSetNode) -> Complete:
        gets: list[tuple[str, Get]] = []
        for key, field, node in self.fields(type_, selections):
            if node.arguments:
                raise NotCoveredError
            complete = self.complete(field.type, node)
            gets.append((key, _getter(node.name.value, field.resolve, complete)))

        def finish(source: Any, info: Any) -> Any:
            return None if source is None else {key: get(source, info) for key, get in gets}

        return finish


def _getter(name: str, resolve: Resolver | None, complete: Complete) -> Get:
    if resolve is not None:
        return lambda source, info: complete(resolve(source, info), info)

    def get(source: Any, info: Any) -> Any:
        value = source.get(name) if isinstance(source, dict) else getattr(source, name, None)
        return complete(value, info)

    return get


def _not_null(complete: Complete) -> Complete:
    def finish(value: Any, info: Any) -> Any:
        finished = complete(value, info)
        if finished is None:
            raise NotCoveredError
        return finished

    return finish


def _each(complete: Complete) -> Complete:
    def finish(value: Any, info: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, list | tuple):
            raise NotCoveredError
        return [complete(item, info) for item in value]

    return finish


def _leaf(type_: GraphQLLeafType) -> Complete:
    convert = type_.coerce_output_value
    ready = str if type_.name in (GraphQLString.name, GraphQLID.name) else None

    def finish(value: Any, _: Any) -> Any:
        return value if value is None or type(value) is ready else convert(value)

    return finish
