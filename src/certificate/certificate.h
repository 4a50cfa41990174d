/*-------------------------------------------------------------------------
 *
 * certificate.h
 *		What number does it get?
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_CERTIFICATE_H
#define PLINTH_CERTIFICATE_H

#include "postgres.h"

/* Random bytes in a certificate number, and its characters without the zero. */
#define CERTIFICATE_NUMBER_RANDOM 6
#define CERTIFICATE_NUMBER_SIZE 18

/*
 * Write the certificate number that these random bytes stand for: "EVOLV-"
 * and twelve characters of 0-9A-F, zero-terminated.
 */
extern void plinth_certificate_number(const uint8 random[CERTIFICATE_NUMBER_RANDOM],
									  char number[CERTIFICATE_NUMBER_SIZE + 1]);

/* Bytes of a code's prefix and random characters of a code. */
#define CERTIFICATE_CODE_MAX_PREFIX 12
#define CERTIFICATE_CODE_MIN 8
#define CERTIFICATE_CODE_MAX 32

/* Random characters between two hyphens. */
#define CERTIFICATE_CODE_GROUP 4

/* Bytes of the longest code without its terminating zero. */
#define CERTIFICATE_CODE_SIZE                              \
	(CERTIFICATE_CODE_MAX_PREFIX + 1 +                     \
	 CERTIFICATE_CODE_MAX * (CERTIFICATE_CODE_GROUP + 1) / \
		 CERTIFICATE_CODE_GROUP +                          \
	 1)

/*
 * Write the code that these random bytes stand for, zero-terminated: prefix,
 * groups of Crockford's base 32, check character, with hyphens between them.
 *
 *	prefix	1 to CERTIFICATE_CODE_MAX_PREFIX bytes of A-Z and 0-9
 *	random	a byte for each of length characters, five bits of it used
 *
 * Returns false for a draw to be thrown away: its check character would be I,
 * L, O or U, or two neighbours of it could change places unnoticed.
 */
extern bool plinth_certificate_code(const char *prefix, size_t prefix_length,
									const uint8 *random, int length,
									char code[CERTIFICATE_CODE_SIZE + 1]);

/*
 * Is the last character the check character of those before it, and is there
 * nothing but letters, digits, spaces and hyphens?
 */
extern bool plinth_certificate_code_valid(const char *code, size_t length);

#endif /* PLINTH_CERTIFICATE_H */
