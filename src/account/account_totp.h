/*-------------------------------------------------------------------------
 *
 * account_totp.h
 *		One-time passwords, for the files of the account room.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ACCOUNT_TOTP_H
#define PLINTH_ACCOUNT_TOTP_H

#include "postgres.h"

#include "common/cryptohash.h"

/* What authenticator programs expect: SHA-1, six digits, 30 seconds. */
#define ACCOUNT_TOTP_DIGITS 6
#define ACCOUNT_TOTP_PERIOD 30
#define ACCOUNT_TOTP_SECRET_BYTES 20

/* Steps before and after the present one that are taken (RFC 6238, 5.2). */
#define ACCOUNT_TOTP_WINDOW 1

/* Digits that 31 bits can fill evenly enough (RFC 4226 appendix E). */
#define ACCOUNT_OTP_DIGITS_MAX 9

/* Characters of length bytes in base32 without padding. */
#define ACCOUNT_BASE32_SIZE(length) (((length) *8 + 4) / 5)

/*
 * The code of a counter (RFC 4226): that many digits, zero-terminated.  The
 * hash is PG_SHA1, PG_SHA256 or PG_SHA512.
 *
 * Errors: XX000 the server's library refuses the hash.
 */
extern void plinth_account_hotp(pg_cryptohash_type hash, const uint8 *secret,
								size_t secret_length, uint64 counter,
								int digits, char *code);

/*
 * Which of the steps around this one does the code belong to?  code has
 * ACCOUNT_TOTP_DIGITS characters; a step up to last_used does not count, so
 * that no code is good twice.  -1 when there is none.  All steps are tried
 * whatever comes of it.
 */
extern int64 plinth_account_totp_match(const uint8 *secret,
									   size_t secret_length, const char *code,
									   int64 step, int64 last_used);

/*
 * Write bytes in base32 (RFC 4648 section 6) without padding; text has room
 * for ACCOUNT_BASE32_SIZE(length) + 1 characters.  Returns the number of
 * characters.
 */
extern size_t plinth_account_base32(const uint8 *bytes, size_t length,
									char *text);

#endif /* PLINTH_ACCOUNT_TOTP_H */
