--
-- SETUP
-- The extension and every module that there is a script of; the other tests
-- find them.
--
-- Needs: shared_preload_libraries = 'plinth', wal_level = logical
-- Leaves: the extension and all modules
--
CREATE EXTENSION plinth CASCADE;

-- every module can be installed, each where it belongs
SELECT count(*) > 0 AS any_modules,
	   bool_and(plinth.install(module) = available) AS all_installed
FROM plinth.modules();
SELECT module, schema, installed FROM plinth.modules()
WHERE installed IS DISTINCT FROM available OR schema <> module;
