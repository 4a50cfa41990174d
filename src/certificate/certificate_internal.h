/*-------------------------------------------------------------------------
 *
 * certificate_internal.h
 *		What the files of the certificate room share with each other only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_CERTIFICATE_INTERNAL_H
#define PLINTH_CERTIFICATE_INTERNAL_H

#include "certificate/certificate.h"

#include "lib/stringinfo.h"

/* certificate_pattern.c: pure */

/* Bytes of the longest pattern, and digits that a number can be filled to. */
#define CERTIFICATE_MAX_PATTERN 200
#define CERTIFICATE_MAX_WIDTH 18

/*
 * Is this a pattern of numbers?  Sets *by_year when the year is part of it.
 * Returns NULL, or what is wrong as a sentence for an error's detail.
 */
extern const char *plinth_certificate_pattern_check(const char *pattern,
													size_t length, bool *by_year);

/*
 * Append the number that a checked pattern, zero-terminated, makes of these.
 */
extern void plinth_certificate_pattern_write(StringInfo out, const char *pattern,
											 const char *name, int year,
											 int64 number);

#endif /* PLINTH_CERTIFICATE_INTERNAL_H */
