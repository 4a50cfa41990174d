/*-------------------------------------------------------------------------
 *
 * json_internal.h
 *		What the checker and the walker of JSON share with each other only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_JSON_INTERNAL_H
#define PLINTH_JSON_INTERNAL_H

#include "base/json_scan.h"

/*
 * Order two JsonName of a checked text by their bytes after unescaping, as
 * qsort() asks.
 */
extern int plinth_json_compare_names(const void *a, const void *b);

static inline bool
json_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline void
json_skip_space(const char **at, const char *end)
{
	while (*at < end &&
		   (**at == ' ' || **at == '\t' || **at == '\n' || **at == '\r'))
		(*at)++;
}

/*
 * Value of four hexadecimal digits, or more than 0xFFFF when they are none.
 */
static inline uint32_t
json_hex4(const char *at)
{
	uint32_t value = 0;

	for (int i = 0; i < 4; i++)
	{
		char c = at[i];

		value <<= 4;
		if (json_is_digit(c))
			value |= (uint32_t) (c - '0');
		else if (c >= 'a' && c <= 'f')
			value |= (uint32_t) (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			value |= (uint32_t) (c - 'A' + 10);
		else
			return UINT32_MAX;
	}

	return value;
}

#endif /* PLINTH_JSON_INTERNAL_H */
