-- ---------------------------------------------------------------------
-- Partitions of this month and the next two, and the guard of the default
-- one.
-- ---------------------------------------------------------------------
SELECT @schema@.guard_partition('audit_logs_default');
SELECT @schema@.ensure_partitions();

