"""Fixtures that several kinds of tests share."""

from tests.databases import postgresql_url as postgresql_url
