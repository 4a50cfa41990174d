-- ---------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------

GRANT USAGE ON SCHEMA @schema@ TO service_role;
GRANT SELECT ON @schema@.series TO service_role;
