-- ---------------------------------------------------------------------
-- social with audit: who asked for a certificate, who gave it
-- ---------------------------------------------------------------------
SELECT audit.attach('@schema@.certification_requests');
SELECT audit.attach('@schema@.certifications');
