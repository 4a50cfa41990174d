-- ---------------------------------------------------------------------
-- Join: auth with realtime
--
--		A user's devices hear what happens to the account.
-- ---------------------------------------------------------------------
ALTER PUBLICATION plinth_realtime ADD TABLE @schema@.events;
