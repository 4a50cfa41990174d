/*-------------------------------------------------------------------------
 *
 * audit.h
 *		What changed, by whom?
 *
 * The room's work is done by trigger functions, which SQL calls; the rest of
 * the library only needs its settings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_AUDIT_H
#define PLINTH_AUDIT_H

/* Define plinth.audit_*; called once, by plinth.c. */
extern void plinth_audit_define_settings(void);

#endif /* PLINTH_AUDIT_H */
