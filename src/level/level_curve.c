/*-------------------------------------------------------------------------
 *
 * level_curve.c
 *		The level that a number of experience points stands for.
 *
 * Pure: numbers in, numbers out.  Going from level n to n + 1 costs
 * floor(200 * 1.5^(n - 1)) points and level 1 starts at none, so level n
 * starts at the sum of the costs before it.  The sums are constants, worked
 * out in integers of any length, because 3^(n - 1) leaves 128 bits near
 * level 75 and floating point is wrong well before; the test computes them
 * anew, as numeric, and looks at every boundary.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "level/level.h"

#include "port/pg_bitutils.h"

#include "base/compat.h"

/*
 * Points at which each level starts, level 1 first.  One entry more than
 * there are levels: no number of points reaches it.
 */
static const uint64 level_start[LEVEL_MAX + 1] = {
	UINT64CONST(0),
	UINT64CONST(200),
	UINT64CONST(500),
	UINT64CONST(950),
	UINT64CONST(1625),
	UINT64CONST(2637),
	UINT64CONST(4155),
	UINT64CONST(6433),
	UINT64CONST(9850),
	UINT64CONST(14975),
	UINT64CONST(22663),
	UINT64CONST(34196),
	UINT64CONST(51495),
	UINT64CONST(77444),
	UINT64CONST(116367),
	UINT64CONST(174752),
	UINT64CONST(262330),
	UINT64CONST(393698),
	UINT64CONST(590750),
	UINT64CONST(886328),
	UINT64CONST(1329695),
	UINT64CONST(1994746),
	UINT64CONST(2992323),
	UINT64CONST(4488688),
	UINT64CONST(6733236),
	UINT64CONST(10100058),
	UINT64CONST(15150291),
	UINT64CONST(22725641),
	UINT64CONST(34088666),
	UINT64CONST(51133204),
	UINT64CONST(76700011),
	UINT64CONST(115050222),
	UINT64CONST(172575539),
	UINT64CONST(258863515),
	UINT64CONST(388295479),
	UINT64CONST(582443426),
	UINT64CONST(873665347),
	UINT64CONST(1310498228),
	UINT64CONST(1965747550),
	UINT64CONST(2948621534),
	UINT64CONST(4422932510),
	UINT64CONST(6634398974),
	UINT64CONST(9951598670),
	UINT64CONST(14927398214),
	UINT64CONST(22391097530),
	UINT64CONST(33586646504),
	UINT64CONST(50379969966),
	UINT64CONST(75569955159),
	UINT64CONST(113354932949),
	UINT64CONST(170032399634),
	UINT64CONST(255048599662),
	UINT64CONST(382572899704),
	UINT64CONST(573859349768),
	UINT64CONST(860789024864),
	UINT64CONST(1291183537508),
	UINT64CONST(1936775306474),
	UINT64CONST(2905162959924),
	UINT64CONST(4357744440099),
	UINT64CONST(6536616660361),
	UINT64CONST(9804924990755),
	UINT64CONST(14707387486346),
	UINT64CONST(22061081229732),
	UINT64CONST(33091621844811),
	UINT64CONST(49637432767430),
	UINT64CONST(74456149151359),
	UINT64CONST(111684223727253),
	UINT64CONST(167526335591095),
	UINT64CONST(251289503386858),
	UINT64CONST(376934255080502),
	UINT64CONST(565401382620968),
	UINT64CONST(848102073931668),
	UINT64CONST(1272153110897718),
	UINT64CONST(1908229666346793),
	UINT64CONST(2862344499520406),
	UINT64CONST(4293516749280826),
	UINT64CONST(6440275123921456),
	UINT64CONST(9660412685882401),
	UINT64CONST(14490619028823818),
	UINT64CONST(21735928543235944),
	UINT64CONST(32603892814854133),
	UINT64CONST(48905839222281417),
	UINT64CONST(73358758833422344),
	UINT64CONST(110038138250133734),
	UINT64CONST(165057207375200820),
	UINT64CONST(247585811062801449),
	UINT64CONST(371378716594202392),
	UINT64CONST(557068074891303807),
	UINT64CONST(835602112336955930),
	UINT64CONST(1253403168505434114),
	UINT64CONST(1880104752758151391),
	UINT64CONST(2820157129137227306),
	UINT64CONST(4230235693705841179),
	UINT64CONST(6345353540558761989),
	PG_UINT64_MAX};

/*
 * Level of 2^n points.  From there to 2^(n + 1) - 1 points at most two levels
 * start, as 1.5^3 is more than 2 and the first steps are wider still.
 */
static const uint8 level_of_power[63] = {
	1,	1,	1,	1,	1,	1,	1,	1,	2,	3,	4,	5,	6,	8,	10, 11,
	13, 15, 16, 18, 20, 22, 23, 25, 27, 28, 30, 32, 34, 35, 37, 39,
	40, 42, 44, 46, 47, 49, 51, 52, 54, 56, 58, 59, 61, 63, 64, 66,
	68, 69, 71, 73, 75, 76, 78, 80, 81, 83, 85, 87, 88, 90, 92};

/*
 * The level of so many points, which are not negative.  Without a branch on
 * the points, since those of a table come in no order.
 */
int
plinth_level_for_xp(int64 xp)
{
	uint64 points = (uint64) xp;
	int level;

	Assert(xp >= 0);
	/* none is of the level of one */
	level = level_of_power[pg_leftmost_one_pos64(points | 1)];

	return level + (points >= level_start[level]) +
		   (points >= level_start[level + 1]);
}

/*
 * The fewest points of a level, 1 to LEVEL_MAX.
 */
int64
plinth_level_start(int level)
{
	Assert(level >= 1 && level <= LEVEL_MAX);

	return (int64) level_start[level - 1];
}
