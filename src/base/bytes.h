/*-------------------------------------------------------------------------
 *
 * bytes.h
 *		Bytes as text and back, compared and wiped without a trace.
 *
 * Pure: no server header, no allocation, no error raised, so that parsers of
 * untrusted input can be built and fuzzed outside the server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_BYTES_H
#define PLINTH_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Characters that length bytes take, or at most bytes that length characters
 * give; no terminating zero is counted.  length is below SIZE_MAX / 2.
 */
#define PLINTH_BASE64URL_SIZE(length) \
	(((length) / 3) * 4 + ((length) % 3 * 4 + 2) / 3)
#define PLINTH_BASE64URL_BYTES(length) \
	(((length) / 4) * 3 + (length) % 4 * 3 / 4)
#define PLINTH_HEX_SIZE(length) ((length) *2)

/*
 * Write bytes as base64url without padding (RFC 4648 section 5, as RFC 7515
 * uses it).  text has room for PLINTH_BASE64URL_SIZE(length) + 1 characters
 * and is zero-terminated.  Returns the number of characters.
 */
extern size_t plinth_bytes_to_base64url(const void *bytes, size_t length,
										char *text);

/*
 * Read base64url.  Exact: only the alphabet, no padding, no white space, no
 * length that encoding cannot give, unused trailing bits zero; so that every
 * byte string has one spelling.  bytes has room for
 * PLINTH_BASE64URL_BYTES(length).  Returns false and leaves *size alone when
 * the text is anything else.
 */
extern bool plinth_bytes_from_base64url(const char *text, size_t length,
										void *bytes, size_t *size);

/*
 * Write bytes as lower-case hexadecimal digits, zero-terminated; text has
 * room for PLINTH_HEX_SIZE(length) + 1 characters.
 */
extern void plinth_bytes_to_hex(const void *bytes, size_t length, char *text);

/*
 * Read an even number of hexadecimal digits of either case into length / 2
 * bytes.  Returns false when the text is anything else.
 */
extern bool plinth_bytes_from_hex(const char *text, size_t length, void *bytes);

/* Are two secrets of one length the same?  Takes the same time either way. */
extern bool plinth_bytes_equal(const void *a, const void *b, size_t length);

/* Wipe memory, in a way that the compiler cannot leave out. */
extern void plinth_bytes_zero(void *bytes, size_t length);

#endif /* PLINTH_BYTES_H */
