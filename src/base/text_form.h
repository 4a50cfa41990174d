/*-------------------------------------------------------------------------
 *
 * text_form.h
 *		One text form of a value, whatever the session's settings.
 *
 * Values that are compared as text, or read by another session than the one
 * that wrote them, are written in this form: ISO dates, UTC, hexadecimal
 * bytea, shortest exact floats.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_TEXT_FORM_H
#define PLINTH_TEXT_FORM_H

#include "postgres.h"

/* For the rest of this process's session. */
extern void plinth_text_form_session(void);

/* Until the current level of settings ends: a (sub)transaction, or a function. */
extern void plinth_text_form_local(void);

#endif /* PLINTH_TEXT_FORM_H */
