/*-------------------------------------------------------------------------
 *
 * certificate_code.c
 *		Random bytes as the number that is printed on a certificate.
 *
 * Pure: bytes in, characters out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "certificate/certificate.h"

#include "base/compat.h"

#define CERTIFICATE_PREFIX "EVOLV-"

StaticAssertDecl(sizeof(CERTIFICATE_PREFIX) - 1 + 2 * CERTIFICATE_NUMBER_RANDOM ==
					 CERTIFICATE_NUMBER_SIZE,
				 "prefix and digits fill the number");

/*
 * See certificate.h.
 */
void
plinth_certificate_number(const uint8 random[CERTIFICATE_NUMBER_RANDOM],
						  char number[CERTIFICATE_NUMBER_SIZE + 1])
{
	static const char digits[] = "0123456789ABCDEF";
	char *end = number + sizeof(CERTIFICATE_PREFIX) - 1;

	memcpy(number, CERTIFICATE_PREFIX, sizeof(CERTIFICATE_PREFIX) - 1);
	for (int i = 0; i < CERTIFICATE_NUMBER_RANDOM; i++)
	{
		*end++ = digits[random[i] >> 4];
		*end++ = digits[random[i] & 0xF];
	}
	*end = '\0';
}
