"""Imported by the server that searches are forked from: all that a search imports, so that kills hit what it does."""

from pretended_search import asked

from kdharness.study.cost import student_cost

expansion = asked("rungs: [1/2, 1]")
student_cost(expansion.wanted[0].setting, expansion.dataset)
