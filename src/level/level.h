/*-------------------------------------------------------------------------
 *
 * level.h
 *		How far has someone come?
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_LEVEL_H
#define PLINTH_LEVEL_H

#include "postgres.h"

/* The last level that starts within the bigint range. */
#define LEVEL_MAX 93

/* The level of xp experience points; xp is not negative. */
extern int plinth_level_for_xp(int64 xp);

/* The fewest points of a level, 1 to LEVEL_MAX. */
extern int64 plinth_level_start(int level);

#endif /* PLINTH_LEVEL_H */
