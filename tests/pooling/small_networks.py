"""Hand-written 2D and 3D networks in common styles."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """The residual block of torchvision's ResNet-18, by its attribute names."""

    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1:
            conv = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(channels))

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's ResNet with two stages."""

    def __init__(self, classes=5):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(4, 4, 1))
        self.layer2 = nn.Sequential(BasicBlock(4, 8, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(self.avgpool(self.layer2(self.layer1(x))).flatten(1))


class Gate(nn.Module):
    """Squeeze and excitation: its global pool is not a head."""

    def __init__(self, channels):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, 2, 1)
        self.fc2 = nn.Conv2d(2, channels, 1)
        self.scale = nn.Sigmoid()

    def forward(self, x):
        return x * self.scale(self.fc2(self.fc1(self.avgpool(x))))


class DenseLayer(nn.Module):
    """torchvision's dense layer without its bottleneck."""

    def __init__(self, channels):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(channels), nn.Conv2d(channels, 4, 3, 1, 1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv(functional.relu(self.norm(x)))], 1)


class Transition(nn.Sequential):
    """torchvision's transition: its pool is a layer."""

    def __init__(self, channels_in, channels):
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(channels_in), nn.ReLU(inplace=True)
        self.conv, self.pool = nn.Conv2d(channels_in, channels, 1, bias=False), nn.AvgPool2d(2, 2)


class DenseNet(nn.Module):
    """torchvision's DenseNet with two blocks; its last pool is a function that the network calls."""

    def __init__(self, classes=5):
        super().__init__()
        stem = [("conv0", nn.Conv2d(3, 4, 7, 2, 3, bias=False)), ("norm0", nn.BatchNorm2d(4)), ("relu0", nn.ReLU())]
        stem += [("pool0", nn.MaxPool2d(3, 2, 1)), ("denseblock1", DenseLayer(4)), ("transition1", Transition(8, 4))]
        self.features = nn.Sequential(
            OrderedDict([*stem, ("denseblock2", DenseLayer(4)), ("norm5", nn.BatchNorm2d(8))])
        )
        self.classifier = nn.Linear(8, classes)

    def forward(self, x):
        out = functional.adaptive_avg_pool2d(functional.relu(self.features(x), inplace=True), (1, 1))
        return self.classifier(torch.flatten(out, 1))


class InceptionBlock(nn.Module):
    """The style of torchvision's Inception blocks: a method that forward calls runs the pools of the branches.

    A child layer calls a function of the same name in between, and is not to be mistaken for the block.
    """

    def __init__(self, channels_in, channels):
        super().__init__()
        self.branch1x1, self.branch_pool = nn.Conv2d(channels_in, channels, 1), nn.Conv2d(channels_in, channels, 1)
        self.smooth = nn.AvgPool2d(3, 1, 1)

    def _forward(self, x):
        smooth = self.branch1x1(self.smooth(x))
        pooled = self.branch_pool(functional.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return [smooth, pooled, functional.max_pool2d(x, 3, 1, 1)]

    def forward(self, x):
        return torch.cat(self._forward(x), 1)


class Inception(nn.Module):
    """The style of torchvision's Inception, with a head in a module and a classifier for training only."""

    def __init__(self, classes=5):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.mixed1, self.mixed2 = InceptionBlock(4, 2), InceptionBlock(8, 4)
        self.aux = nn.Sequential(nn.AvgPool2d(5, 3), nn.Conv2d(16, 4, 1))
        self.last = nn.Conv2d(16, 8, 3)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(8, classes)

    def forward(self, x):
        x = self.mixed1(functional.max_pool2d(self.conv(x), kernel_size=3, stride=2))
        x = self.mixed2(functional.max_pool2d(x, kernel_size=2))
        return self.fc(self.avgpool(self.last(x)).flatten(1))


class MaxPool2dSame(nn.MaxPool2d):
    """timm's max pooling with the padding that TensorFlow calls "same", added in its forward."""

    def __init__(self, kernel_size, stride):
        super().__init__((kernel_size, kernel_size), (stride, stride), (0, 0))

    def forward(self, x):
        sides = []
        for size in (x.shape[-1], x.shape[-2]):
            missing = max((-(-size // self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - size, 0)
            sides += [missing // 2, missing - missing // 2]
        return functional.max_pool2d(functional.pad(x, sides, value=-torch.inf), self.kernel_size, self.stride)


class SelectAdaptivePool2d(nn.Module):
    """timm's head: a global pool and a flattening in one module."""

    def __init__(self):
        super().__init__()
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten(1)

    def forward(self, x):
        return self.flatten(self.pool(x))


class TimmStyle(nn.Module):
    """timm's names: ``conv_stem``, ``global_pool``; squeeze-and-excitation that calls functions."""

    def __init__(self, pool, classes=5):
        super().__init__()
        self.conv_stem, self.maxpool = nn.Conv2d(3, 4, 3, 2, 1), pool
        self.blocks = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), CalledGate(8))
        self.global_pool, self.classifier = SelectAdaptivePool2d(), nn.Linear(8, classes)

    def forward(self, x):
        return self.classifier(self.global_pool(self.blocks(self.maxpool(self.conv_stem(x)))))


class CalledGate(nn.Module):
    """Squeeze and excitation by functions, with a window computed from the size of its input."""

    def __init__(self, channels):
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x):
        squeezed = functional.avg_pool2d(x, x.shape[2:])
        return x * torch.sigmoid(self.expand(functional.relu(self.reduce(squeezed))))
