/*-------------------------------------------------------------------------
 *
 * audit.h
 *		What changed, by whom?
 *
 * The room's work is done by functions that SQL calls, triggers above all;
 * the rest of the library needs its settings and the step that seals the log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_AUDIT_H
#define PLINTH_AUDIT_H

/* Define plinth.audit_*; called once, by plinth.c. */
extern void plinth_audit_define_settings(void);

extern int plinth_audit_seal_interval; /* milliseconds */

/*
 * Seal the records that have no seal, or a batch of them.  A step of the upkeep worker: in a
 * transaction of its own, with SPI, where plinth_module_identity_matches().
 */
extern void plinth_audit_seal_step(void *arg);

/* Set when a step has left records for another; the worker takes it back. */
extern bool plinth_audit_seal_more;

#endif /* PLINTH_AUDIT_H */
