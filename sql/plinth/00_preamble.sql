-- ---------------------------------------------------------------------
-- plinth: the extension's script
--
-- Joined by the Makefile from sql/plinth/*.sql in the order of their
-- numbers; 99_rights.sql holds owners and every GRANT.
-- ---------------------------------------------------------------------

-- complain if the script is sourced in psql, rather than by CREATE EXTENSION
\echo Use "CREATE EXTENSION plinth CASCADE" to load this file. \quit

-- Every name below carries its schema.
SET LOCAL search_path = pg_catalog, pg_temp;

