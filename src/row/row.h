/*-------------------------------------------------------------------------
 *
 * row.h
 *		What does every row do by itself?
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ROW_H
#define PLINTH_ROW_H

#include "postgres.h"

/*
 * Write the bytes of source to target so that LIKE, with its default escape
 * character, takes each of them for itself.  The target has room for twice
 * the source.  Returns the number of bytes written.
 */
extern Size plinth_row_escape_like(const char *source, Size size, char *target);

#endif /* PLINTH_ROW_H */
