-- ---------------------------------------------------------------------
-- Join: profiles with realtime
--
--		A new notification reaches its user at once.
-- ---------------------------------------------------------------------
ALTER PUBLICATION plinth_realtime ADD TABLE @schema@.notifications;
