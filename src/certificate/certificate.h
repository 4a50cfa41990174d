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

#endif /* PLINTH_CERTIFICATE_H */
