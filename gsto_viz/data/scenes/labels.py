"""Class indices of the scenes: CamVid's, in CamVid's order."""

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

THINGS = (POLE, SIGN, CAR, PEDESTRIAN, BICYCLIST)
"""Classes whose objects get instance ids."""
