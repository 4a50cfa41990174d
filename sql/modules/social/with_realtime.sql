-- ---------------------------------------------------------------------
-- social with realtime: new badges and new levels, each filtered by user_id
--
--		Both are read from the new row, which is always whole, so that the
--		primary key will do as replica identity.
-- ---------------------------------------------------------------------
ALTER PUBLICATION plinth_realtime ADD TABLE @schema@.user_badges, @schema@.user_levels;
